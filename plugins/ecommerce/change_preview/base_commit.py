"""The commit that a change is compared with: the dbt project as it is there, and what else the change touches."""

from __future__ import annotations

import io
import shutil
import subprocess
import tarfile
from dataclasses import dataclass
from pathlib import Path

from ecommerce.common.errors import PreviewError

#: What a build reads besides the dbt project, from the project's folder: a preview builds with the warehouse's own.
_NOT_PREVIEWED = ("../sql", "../shops")


@dataclass(frozen=True)
class BaseCommit:
    """
    Where the change left the branch that it is to be merged into.

    :param branch: that branch, as the user named it
    :param dbt_project: the project's folder in the working tree
    :param tree: git's name for the contents of the dbt project; equal for commits with the same project
    """

    branch: str
    dbt_project: Path
    commit: str
    tree: str

    @classmethod
    def of(cls, branch: str, dbt_project: Path) -> BaseCommit:
        """
        Find the last commit that the working tree shares with a branch.

        :raises PreviewError: there is no such branch, or its history is not here
        """
        # With a dash in front it would be an option of git.
        unknown = f"there is no branch or commit {branch}"
        head = _line(
            dbt_project, "rev-parse", "--verify", "--quiet", "--end-of-options", f"{branch}^{{commit}}", error=unknown
        )
        apart = f"{branch} and the working tree share no commit; in CI, fetch the whole history"
        commit = _line(dbt_project, "merge-base", head, "HEAD", error=apart)
        tree = _line(dbt_project, "rev-parse", f"{commit}:./", error=f"{branch} has no dbt project")
        return cls(branch, dbt_project, commit, tree)

    def extract_project(self, folder: Path) -> Path:
        """Write the dbt project of this commit to a folder, unless it is there; the project's folder."""
        project = folder / "project"
        if not project.exists():
            # Of the project's folder alone, since git is run there.
            archive = _git(self.dbt_project, "archive", self.commit, error=f"{self.commit} cannot be read")
            scratch = folder / "incomplete"
            shutil.rmtree(scratch, ignore_errors=True)
            with tarfile.open(fileobj=io.BytesIO(archive)) as files:
                files.extractall(scratch, filter="data")
            scratch.rename(project)
        return project

    def unpreviewed_files(self) -> list[str]:
        """Files that the change touches, and that may change the marts without being part of the dbt project."""
        return _line(self.dbt_project, "diff", "--name-only", self.commit, "--", *_NOT_PREVIEWED, error="").splitlines()


def branch_name(folder: Path) -> str:
    """The branch of the working tree; its commit, if it is on no branch, as often in CI."""
    name = _line(folder, "rev-parse", "--abbrev-ref", "HEAD", error="")
    return name if name != "HEAD" else _line(folder, "rev-parse", "--short", "HEAD", error="")


def _line(folder: Path, *arguments: str, error: str) -> str:
    return _git(folder, *arguments, error=error).decode().strip()


def _git(folder: Path, *arguments: str, error: str) -> bytes:
    """The output of a git command that is run in a folder."""
    program = shutil.which("git")
    if program is None:
        raise PreviewError("git is needed to find what has changed, and it is not installed")
    outcome = subprocess.run([program, *arguments], cwd=folder, capture_output=True, check=False)  # noqa: S603
    if outcome.returncode != 0:
        reasons = filter(None, [error, outcome.stderr.decode(errors="replace").strip()])
        raise PreviewError(": ".join(reasons) or f"git {arguments[0]} failed")
    return outcome.stdout
