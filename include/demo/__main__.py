"""Start and stop the demo stack, and run the warehouse on it: the commands behind the Makefile."""

from __future__ import annotations

import argparse
import logging
import os
import subprocess
import sys
from datetime import date, timedelta
from pathlib import Path

import psycopg
from psycopg import sql

from ecommerce.common.personal_data import ERASE_DAG
from ecommerce.common.sources import SOURCES, absence_in_words
from ecommerce.common.version import version
from include.demo import airflow_services, database, dbt, logs, processes, stack
from include.demo.errors import StackError
from include.demo.rollback import rollback_in_words
from include.demo.run_summary import run_summary, sources_in_quarantine
from include.demo.runs import backfill, follow, run_dag, trigger
from include.demo.shop.shop_folder import ShopDataError, ShopFolder, read_folder
from include.demo.state import ROOT, STACK, WAREHOUSE_ROLES, State

log = logging.getLogger(__name__)


def main() -> int:
    """Run the command of the arguments; the process's exit code."""
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stderr)
    for name in ("httpx", "include.demo.shop"):
        logging.getLogger(name).setLevel(logging.WARNING)
    arguments = _parser().parse_args()
    try:
        return int(arguments.work(arguments))
    except (StackError, ShopDataError) as error:
        log.error("error: %s", error)
    except psycopg.OperationalError as error:
        log.error("error: Postgres: %s; see .stack/logs/postgres.log", str(error).strip())
    except OSError as error:
        log.error("error: %s: %s", error.filename or "system", error.strerror or error)
    except KeyboardInterrupt:
        log.error(
            "\ninterrupted; what was started keeps running. See what runs: make status; stop: make down; "
            "continue: the same command"
        )
        return 130
    return 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m include.demo", description=__doc__)
    commands = parser.add_subparsers(required=True, metavar="command")

    def command(name: str, work: object, text: str, *, example: str = "") -> argparse.ArgumentParser:
        subparser = commands.add_parser(
            name,
            help=text,
            description=text,
            epilog=f"As a command of make: {example}" if example else None,
        )
        subparser.set_defaults(work=work)
        return subparser

    def window(subparser: argparse.ArgumentParser, *, required: bool) -> None:
        for option, name in (("--from", "first"), ("--to", "last")):
            text = f"{name} day, inclusive, a day of the shop's time zone"
            subparser.add_argument(option, dest=name, type=_day, required=required, help=text)

    def executor(subparser: argparse.ArgumentParser) -> None:
        subparser.add_argument(
            "--executor", help="what runs the tasks: local (the scheduler) or celery (workers); default: as before"
        )
        subparser.add_argument("--workers", type=int, help="how many Celery workers; default: as before, or 2")

    executor(command("up", _up, "start the stack", example="make up, make up EXECUTOR=celery WORKERS=2"))
    command("down", _down, "stop the stack; its data stays")
    command("reset", _reset, "stop the stack and delete its data")
    command("status", _status, "show what is running, and the addresses")
    demo = command("demo", _demo, "start the stack, fill its shop, run the warehouse over the whole range")
    demo.add_argument("--data", type=Path, help="a folder of CSV files; default: a generated shop")
    window(demo, required=False)
    executor(demo)
    restart = command(
        "restart",
        _restart,
        "stop Airflow and start it again, so that it runs the code as it is now",
        example="make restart, make restart SERVICE=scheduler, make restart FORCE=1",
    )
    restart.add_argument("--service", help="only this one, e.g. scheduler")
    restart.add_argument("--force", action="store_true", help="also while runs are active; their tasks end")
    show_logs = command(
        "logs", _logs, "print the end of a service's log", example="make logs SERVICE=scheduler LINES=100 FOLLOW=1"
    )
    show_logs.add_argument("--service", help="e.g. scheduler; without it, the services that have a log are listed")
    show_logs.add_argument("--lines", type=int, default=50, help="how many lines (default 50)")
    show_logs.add_argument("--follow", action="store_true", help="go on until Ctrl-C with the lines that come")
    run = command(
        "run",
        _run,
        "trigger the warehouse for a range, follow it and say what it has done",
        example="make run FROM=2024-06-01 TO=2024-06-07 SOURCES=sales_fact,customer DRY_RUN=1",
    )
    window(run, required=False)
    run.add_argument("--sources", help="read only these, comma-separated")
    run.add_argument("--full-refresh", action="store_true", help="rebuild every model from raw")
    run.add_argument("--allow-column-changes", action="store_true", help="let marts lose or retype columns")
    run.add_argument("--allow-mass-removal", action="store_true", help="load what lost more than half of its rows")
    run.add_argument("--dry-run", action="store_true", help="report what would change, change nothing")
    replay = command(
        "replay",
        _replay,
        "load rejected rows again, follow the run and say what it has done",
        example='make replay SOURCE=sales_fact BATCH=17 REASON="is negative" DRY_RUN=1',
    )
    replay.add_argument("--source", choices=list(SOURCES), help="default: each source that has rejected rows")
    replay.add_argument("--batch", type=int, help="only the rows that this load has rejected")
    replay.add_argument("--reason", help="only the rows with this text in their reason")
    replay.add_argument("--dry-run", action="store_true", help="report what would be loaded, change nothing")
    rollback = command(
        "rollback",
        _rollback,
        "restore all marts to an earlier publication, follow the run and say what it has done",
        example="make rollback, make rollback PUBLICATION=12 DRY_RUN=1",
    )
    rollback.add_argument("--publication", type=int, help="restore what this one left; default: the last but one")
    rollback.add_argument("--dry-run", action="store_true", help="say what would change, change nothing")
    erase = command(
        "erase",
        _erase,
        "erase a customer for good, follow the run and say what it has replaced",
        example="make erase CUSTOMER=CUST001 DRY_RUN=1, make erase CUSTOMER=anna@example.org",
    )
    erase.add_argument("--customer", help="a customer_id as the marts have it, or an e-mail address")
    erase.add_argument("--dry-run", action="store_true", help="only list where the customer is, change nothing")
    prune = command(
        "prune",
        _prune,
        "delete what is older than include/retention.yml says, follow the run and say what is gone",
        example="make prune DRY_RUN=1, make prune",
    )
    prune.add_argument("--dry-run", action="store_true", help="only list tables, rows and bytes, delete nothing")
    verify = command(
        "verify",
        _verify,
        "build a second time from raw, compare, follow the run and say what it has found",
        example="make verify DAYS=30 SEED=1, make verify FULL=1",
    )
    verify.add_argument("--days", type=int, default=7, help="how many days of the facts are built again (default 7)")
    verify.add_argument("--seed", type=int, help="the same seed draws the same days")
    verify.add_argument("--full", action="store_true", help="every day of the facts, not a sample")
    backfill_command = command(
        "backfill",
        _backfill,
        "run Airflow's backfill, one run per day, and follow it",
        example="make backfill FROM=2024-06-01 TO=2024-06-02",
    )
    window(backfill_command, required=True)
    backfill_command.add_argument("--max-active-runs", type=int, default=4, help="runs at the same time (default 4)")
    dsn = command("dsn", _dsn, "print a libpq URI")
    dsn.add_argument("--db", choices=["warehouse", "shop", "airflow"], default="warehouse")
    dsn.add_argument("--role", choices=["owner", *WAREHOUSE_ROLES], default="owner")
    dsn.add_argument("--with-password", action="store_true")
    preview = command(
        "preview",
        _preview,
        "show what a change of the dbt project does to the marts, in exact figures; change nothing",
        example="make preview BASE=main MARTS=daily_revenue OUT=preview.md",
    )
    for option, text in (
        ("--base", "the branch that the change goes to (default main)"),
        ("--marts", "only these, comma-separated; default: all that the change reaches"),
        ("--out", "a file for the report; *.html is a page"),
        ("--name", "of the preview; only one of a name runs at a time (default: the branch)"),
    ):
        preview.add_argument(option, help=text)
    airflow = command("airflow", _airflow, "run Airflow's own command line on the stack")
    airflow.add_argument("arguments", nargs=argparse.REMAINDER)
    window(
        command("shop-check", _shop_check, "read some days of each source of the shop; change nothing"), required=False
    )
    command("migrate", _migrate, "bring the warehouse's roles and tables up to date; a run does the tables by itself")
    dbt_command = command("dbt", _dbt, "run dbt's own command line on the stack's warehouse")
    dbt_command.add_argument("arguments", nargs=argparse.REMAINDER)
    return parser


def _day(text: str) -> date:
    try:
        return date.fromisoformat(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not a date such as 2024-01-31") from None


def _up(arguments: argparse.Namespace) -> int:
    log.info("Starting the stack")
    state = stack.up(executor=arguments.executor, number_of_workers=arguments.workers)
    if advice := stack.restart_in_words():
        log.warning("\n  %s", advice)
    _show_addresses(state)
    return 0


def _down(arguments: argparse.Namespace) -> int:
    stopped = stack.down()
    log.info("stopped: %s", ", ".join(stopped) if stopped else "nothing was running")
    return 0


def _reset(arguments: argparse.Namespace) -> int:
    stack.reset()
    log.info("the stack and its data are deleted")
    return 0


def _status(arguments: argparse.Namespace) -> int:
    log.info("%-22s %s", "version", version())
    state = State.load()
    services = airflow_services.names(state) if state else airflow_services.SERVICES
    broker = ["valkey"] if state and state.workers else []
    for name in ["kafka", "weather", *broker, *(f"airflow-{service}" for service in services)]:
        process = processes.find(name)
        log.info("%-22s %s", name, f"pid {process.pid}" if process else "not running")
    if advice := stack.restart_in_words():
        log.warning("\n  %s", advice)
    _show_addresses(stack.running())
    return 0


def _demo(arguments: argparse.Namespace) -> int:
    # Before anything starts: a mistake in the folder must cost nothing, and leave nothing behind.
    shop = read_folder(arguments.data or stack.generated_shop())
    folder = shop.path.resolve()
    first, last = _range(shop, arguments.first, arguments.last)
    log.info("Starting the stack")
    state = stack.up(folder, last_day=last, executor=arguments.executor, number_of_workers=arguments.workers)
    log.info("Filling the shop from %s", os.path.relpath(folder))
    api = stack.api_of(state)
    stack.fill(state, opening=lambda: _read_opening(state, shop))
    demo_run = {"fingerprint": state.shop["fingerprint"], "first": str(first), "last": str(last)}
    if state.demo == demo_run:
        log.info("The warehouse has %s to %s already; to run again: make run FROM=%s TO=%s", first, last, first, last)
    else:
        log.info("Running the warehouse for %s to %s", first, last)
        if not run_dag(api, stack.WAREHOUSE_DAG, {"start_date": str(first), "end_date": str(last)}):
            log.error("the run failed; the published marts are unchanged. %s", state.airflow_url)
            return 1
        state.demo = demo_run
        state.save()
    _show_marts(state)
    log.info("\n  %s", orders_in_words(state.dsn()))
    if absent := absent_sources_in_words(state):
        log.info("  %s", absent)
    _show_addresses(state)
    return 0


def _read_opening(state: State, shop: ShopFolder) -> None:
    """Load the shop's opening state by the extract DAGs, so that its later changes become versions of the rows."""
    api = stack.api_of(state)
    first, _ = _range(shop, None, None)
    day_before = str(first - timedelta(days=1))
    log.info("Loading the opening state of the shop")
    runs = {
        source: trigger(api, f"extract_{source}", {"start_date": day_before, "end_date": day_before})
        for source in shop.opening
    }
    if not all([follow(api, f"extract_{source}", run_id) for source, run_id in runs.items()]):
        raise StackError("the opening state of the shop could not be loaded")


def _range(shop: ShopFolder, first: date | None, last: date | None) -> tuple[date, date]:
    """The range that the user asked for; its default is from the first to the last day with a recorded order."""
    if first is None or last is None:
        recorded = shop.recorded_days
        if recorded is None:
            raise StackError(f"{shop.path.name}/sales_fact.csv has no order; set FROM= and TO=")
        first, last = first or recorded[0], last or recorded[1]
    if first > last:
        raise StackError(f"FROM={first} is after TO={last}; both are inclusive")
    return first, last


def _run(arguments: argparse.Namespace) -> int:
    if (arguments.first is None) != (arguments.last is None):
        raise StackError("set both FROM= and TO= (inclusive), or neither for the shop's last day")
    conf: dict[str, object] = {
        "full_refresh": arguments.full_refresh,
        "allow_column_changes": arguments.allow_column_changes,
        "allow_mass_removal": arguments.allow_mass_removal,
        "dry_run": arguments.dry_run,
    }
    if arguments.first:
        conf |= {"start_date": str(arguments.first), "end_date": str(arguments.last)}
    if arguments.sources:
        conf["sources"] = [name.strip() for name in arguments.sources.split(",") if name.strip()]
    state = stack.running_with_the_chosen_shop()
    stack.let_airflow_read_changed_files(state)
    return _run_and_summarize(state, stack.WAREHOUSE_DAG, conf)


#: DAG → the task whose log says what a dry run would have done.
_REPORTING_TASKS = {
    stack.WAREHOUSE_DAG: "claim",
    "replay_quarantine": "replay",
    ERASE_DAG: "erase",
    "prune_warehouse": "prune",
}


def _run_and_summarize(state: State, dag_id: str, conf: dict[str, object]) -> int:
    """Trigger a run, follow it to its end, and log what it has done; the exit code: 0 if it has succeeded, else 1."""
    api = stack.api_of(state)
    run_id = trigger(api, dag_id, conf)
    is_successful = follow(api, dag_id, run_id)
    log.info("")
    if not conf.get("dry_run"):
        _log_summary(state, dag_id, run_id)
    elif is_successful:
        for line in api.task_messages(dag_id, run_id, _REPORTING_TASKS[dag_id]):
            if line.startswith("DRY RUN: "):
                log.info("  %s", line)
    return 0 if is_successful else 1


def _log_summary(state: State, dag_id: str, run_id: str) -> None:
    is_to_publish = dag_id in (stack.WAREHOUSE_DAG, "rollback_publication")
    for line in run_summary(state.dsn("warehouse", "inspector"), run_id, is_to_publish=is_to_publish):
        log.info("  %s", line)


def _replay(arguments: argparse.Namespace) -> int:
    state = stack.running_with_the_chosen_shop()
    sources = [arguments.source] if arguments.source else sources_in_quarantine(state.dsn("warehouse", "inspector"))
    if not sources:
        log.info("no rejected row waits in quarantine")
    conf = {"batch": arguments.batch, "reason": arguments.reason, "dry_run": arguments.dry_run}
    return max([_run_and_summarize(state, "replay_quarantine", {"source": one, **conf}) for one in sources], default=0)


def _rollback(arguments: argparse.Namespace) -> int:
    state = stack.running()
    for line in rollback_in_words(state.dsn("warehouse", "inspector"), arguments.publication):
        log.info("  %s", line)
    if arguments.dry_run:
        return 0
    exit_code = _run_and_summarize(state, "rollback_publication", {"publication_id": arguments.publication})
    if exit_code == 0:
        log.info(
            "  The next run of %s publishes again. To hold its schedule until the cause is repaired: "
            'make airflow ARGS="dags pause %s"',
            *[stack.WAREHOUSE_DAG] * 2,
        )
    return exit_code


def _erase(arguments: argparse.Namespace) -> int:
    if not arguments.customer:
        raise StackError("say which customer: make erase CUSTOMER=…, a customer_id or an e-mail address")
    state = stack.running_with_the_chosen_shop()
    conf: dict[str, object] = {"customer": arguments.customer, "dry_run": arguments.dry_run}
    exit_code = _run_and_summarize(state, ERASE_DAG, conf)
    if exit_code == 0 and not arguments.dry_run:
        log.info("  The next run of %s builds and publishes again.", stack.WAREHOUSE_DAG)
    return exit_code


def _prune(arguments: argparse.Namespace) -> int:
    state = stack.running_with_the_chosen_shop()
    options = ["--dry-run"] if arguments.dry_run else []
    # First, since Airflow prints some lines for each of its tables: what the warehouse has lost stands at the end.
    airflow_exit_code = _run_with_connections(state, "ecommerce.prune.airflow_database", *options)
    return _run_and_summarize(state, "prune_warehouse", {"dry_run": arguments.dry_run}) or airflow_exit_code


def _verify(arguments: argparse.Namespace) -> int:
    conf = {"days": arguments.days, "seed": arguments.seed, "full": arguments.full}
    return _run_and_summarize(stack.running(), "verify_warehouse", conf)


def _restart(arguments: argparse.Namespace) -> int:
    log.info("Restarting %s", arguments.service or "Airflow")
    _show_addresses(stack.restart(arguments.service, is_forced=arguments.force))
    return 0


def _logs(arguments: argparse.Namespace) -> int:
    if arguments.service is None:
        log.info("logs of: %s; one of them: make logs SERVICE=…", ", ".join(logs.services()) or "nothing yet")
        return 0
    return logs.show_log(arguments.service, lines=arguments.lines, is_followed=arguments.follow)


def _backfill(arguments: argparse.Namespace) -> int:
    if arguments.first > arguments.last:
        raise StackError(f"FROM={arguments.first} is after TO={arguments.last}; both are inclusive")
    state = stack.running_with_the_chosen_shop()
    stack.let_airflow_read_changed_files(state)
    api = stack.api_of(state)
    days = str(arguments.first), str(arguments.last)
    is_successful = backfill(api, *days, max_active_runs=arguments.max_active_runs)
    # The last one builds and publishes for all; its name has its time.
    if last := max((run["dag_run_id"] for run in api.backfill_runs(stack.WAREHOUSE_DAG, *days)), default=None):
        log.info("\n  The last run, %s:", last)
        _log_summary(state, stack.WAREHOUSE_DAG, last)
    return 0 if is_successful else 1


def _dsn(arguments: argparse.Namespace) -> int:
    state = _existing_state()
    compose = state.dsn if arguments.with_password else state.dsn_by_file
    print(compose(arguments.db, None if arguments.role == "owner" else arguments.role))
    return 0


def _existing_state() -> State:
    state = State.load()
    if state is None or "POSTGRES_PORT" not in state.ports:
        raise StackError("there is no stack yet; start it with: make up (or make demo)")
    return state


def _airflow(arguments: argparse.Namespace) -> int:
    program = airflow_services.command("airflow")
    env = airflow_services.environment(stack.running())
    return subprocess.run([program, *arguments.arguments], cwd=ROOT, env=env, check=False).returncode


def _shop_check(arguments: argparse.Namespace) -> int:
    days = {"--from": arguments.first, "--to": arguments.last}
    options = [f"{name}={day}" for name, day in days.items() if day]
    return _run_with_connections(stack.running_with_the_chosen_shop(), "ecommerce.load.shop_check", *options)


def _migrate(arguments: argparse.Namespace) -> int:
    state = stack.running_with_the_chosen_shop()
    database.make_schemas(state.dsn("warehouse", "postgres"))
    return _run_with_connections(state, "ecommerce.common.migrate")


def _run_with_connections(state: State, module: str, *options: str) -> int:
    """Run a module in a process that reads Airflow's connections as its services do; its exit code."""
    env = airflow_services.environment(state) | {"_AIRFLOW_PROCESS_CONTEXT": "server"}
    return subprocess.run([sys.executable, "-m", module, *options], cwd=ROOT, env=env, check=False).returncode


def _dbt(arguments: argparse.Namespace) -> int:
    return dbt.run(_existing_state().dsn(role="transformer"), arguments.arguments)


def _preview(arguments: argparse.Namespace) -> int:
    page = STACK / "preview.html"
    options = [f"--{name}={value}" for name, value in vars(arguments).items() if name != "work" and value]
    exit_code = subprocess.run(
        [sys.executable, "-m", "ecommerce.change_preview", f"--out={page}", *options],
        cwd=ROOT,
        env=dbt.environment(_existing_state().dsn(role="previewer")),
        check=False,
    ).returncode
    if exit_code == 0:
        log.info("\nThe same as a page: %s", os.path.relpath(page))
    return exit_code


def _show_marts(state: State) -> None:
    with psycopg.connect(state.dsn("warehouse", "reader")) as connection:
        marts = [
            name
            for (name,) in connection.execute(
                """
                select relname
                from pg_class
                where relnamespace = to_regnamespace('marts') and relkind = 'r'
                order by relname
                """
            )
        ]
        counts = {
            mart: connection.execute(sql.SQL("select count(*) from marts.{}").format(sql.Identifier(mart))).fetchone()
            for mart in marts
        }
    log.info("\n  %-36s %10s", "mart", "rows")
    for mart, row in counts.items():
        log.info("  %-36s %10s", mart, f"{row[0]:,}" if row else "?")


def orders_in_words(dsn: str) -> str:
    """How many lines, orders and refunds a warehouse has in its facts."""
    with psycopg.connect(dsn) as connection:
        row = connection.execute(
            """
            select
                count(*),
                count(distinct order_id),
                count(distinct order_id) filter (where is_guest),
                count(distinct order_id) filter (where is_cancelled),
                (select count(*) from core.fact_refunds)
            from core.fact_sales
            """
        ).fetchone()
    lines, orders, guests, cancelled, refunds = (f"{count:,}" for count in row or ())
    return f"{lines} order lines of {orders} orders ({guests} by guests, {cancelled} cancelled), {refunds} refunds"


def absent_sources_in_words(state: State) -> str | None:
    """What the stack's shop does not have; None: it has all sources."""
    absent = [source for source in SOURCES if not stack.has_source(state, source)]
    return f"{absence_in_words(absent)} Marts about that are empty." if absent else None


def _show_addresses(state: State) -> None:
    log.info("\n  Airflow    %s   login: admin   password: %s", state.airflow_url, state.passwords["admin"])
    log.info("  Warehouse  %s", state.dsn_by_file())
    log.info('  (connect: psql "$(make -s dsn)";  stop: make down)')


if __name__ == "__main__":
    sys.exit(main())
