"""What a worker process imports before it forks, so that tasks start fast."""
