# Astronomer Runtime 3.3-8 carries Apache Airflow 3.3.2, the version that requirements.txt pins. Python 3.12 and not 3.14,
# the Runtime's default, on which the tests have not run.
# The `-base` variant: the plain one installs requirements.txt by an ONBUILD step, which refuses a file that names
# apache-airflow. The steps below are the same ones, less that line.
FROM astrocrpublic.azurecr.io/runtime:3.3-8-python-3.12-base

USER root

COPY packages.txt .
RUN /usr/local/bin/install-system-packages

COPY requirements.txt .
# Another version of Airflow than the image's is not taken out, so the installer refuses it and the build fails. All
# other packages have their hashes in the list, by which pip and uv check what they download.
# The list is complete, so the installer, be it pip or uv, looks for no dependencies. Otherwise it would want dbt-core's
# opt-in parser, which downloads a binary and is not in the list (docs/decisions/0149-dbt-without-its-parser.md).
COPY include/docker/uv.toml /tmp/uv.toml
ARG PIP_NO_DEPS=1
ARG UV_CONFIG_FILE=/tmp/uv.toml
RUN sed -i '/^apache-airflow==3\.3\.2 /,/[^\\]$/d' requirements.txt && /usr/local/bin/install-python-dependencies

USER astro

COPY --chown=astro:0 . .

# The DAG is rendered from dbt's manifest; parsing dbt for it in every Airflow process would cost seconds each time.
RUN dbt parse --project-dir include/dbt --profiles-dir include/dbt --profile ecommerce --target airflow
