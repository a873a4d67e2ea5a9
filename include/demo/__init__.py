"""The demo stack: Postgres, Kafka, a weather API and Airflow on this machine, behind the connections of production."""
