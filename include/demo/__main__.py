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

from ecommerce.common.sources import SOURCES, absence_in_words
from ecommerce.common.version import version
from include.demo import airflow_services, database, dbt, processes, stack
from include.demo.errors import StackError
from include.demo.runs import backfill, follow, run_dag, trigger
from include.demo.shop.shop_folder import ShopDataError, ShopFolder, read_folder
from include.demo.state import ROOT, WAREHOUSE_ROLES, State

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

    def command(name: str, work: object, text: str) -> argparse.ArgumentParser:
        subparser = commands.add_parser(name, help=text, description=text)
        subparser.set_defaults(work=work)
        return subparser

    def window(subparser: argparse.ArgumentParser, *, required: bool) -> None:
        for option, name in (("--from", "first"), ("--to", "last")):
            text = f"{name} day, inclusive, a day of the shop's time zone"
            subparser.add_argument(option, dest=name, type=_day, required=required, help=text)

    command("up", _up, "start the stack")
    command("down", _down, "stop the stack; its data stays")
    command("reset", _reset, "stop the stack and delete its data")
    command("status", _status, "show what is running, and the addresses")
    demo = command("demo", _demo, "start the stack, fill its shop, run the warehouse over the whole range")
    demo.add_argument("--data", type=Path, help="a folder of CSV files; default: a generated shop")
    window(demo, required=False)
    run = command("run", _run, "trigger the warehouse for a range and follow it")
    window(run, required=False)
    run.add_argument("--sources", help="read only these, comma-separated")
    run.add_argument("--full-refresh", action="store_true", help="rebuild every model from raw")
    run.add_argument("--allow-column-changes", action="store_true", help="let marts lose or retype columns")
    run.add_argument("--allow-mass-removal", action="store_true", help="load what lost more than half of its rows")
    run.add_argument("--dry-run", action="store_true", help="report what would change, change nothing")
    backfill_command = command("backfill", _backfill, "run Airflow's backfill, one run per day, and follow it")
    window(backfill_command, required=True)
    backfill_command.add_argument("--max-active-runs", type=int, default=4, help="runs at the same time (default 4)")
    dsn = command("dsn", _dsn, "print a libpq URI")
    dsn.add_argument("--db", choices=["warehouse", "shop", "airflow"], default="warehouse")
    dsn.add_argument("--role", choices=["owner", *WAREHOUSE_ROLES], default="owner")
    dsn.add_argument("--with-password", action="store_true")
    airflow = command("airflow", _airflow, "run Airflow's own command line on the stack")
    airflow.add_argument("arguments", nargs=argparse.REMAINDER)
    window(
        command("shop-check", _shop_check, "read some days of each source of the shop; change nothing"), required=False
    )
    command("migrate", _migrate, "bring the warehouse's tables up to date; a run does it by itself")
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
    _show_addresses(stack.up())
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
    for name in ["kafka", "weather", *(f"airflow-{service}" for service in airflow_services.SERVICES)]:
        process = processes.find(name)
        log.info("%-22s %s", name, f"pid {process.pid}" if process else "not running")
    _show_addresses(stack.running())
    return 0


def _demo(arguments: argparse.Namespace) -> int:
    # Before anything starts: a mistake in the folder must cost nothing, and leave nothing behind.
    shop = read_folder(arguments.data or stack.generated_shop())
    folder = shop.path.resolve()
    first, last = _range(shop, arguments.first, arguments.last)
    log.info("Starting the stack")
    state = stack.up(folder)
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
        raise StackError("set both FROM= and TO= (inclusive), or neither for yesterday")
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
    stack.let_airflow_read_a_changed_profile(state)
    return 0 if run_dag(stack.api_of(state), stack.WAREHOUSE_DAG, conf) else 1


def _backfill(arguments: argparse.Namespace) -> int:
    if arguments.first > arguments.last:
        raise StackError(f"FROM={arguments.first} is after TO={arguments.last}; both are inclusive")
    state = stack.running_with_the_chosen_shop()
    stack.let_airflow_read_a_changed_profile(state)
    api = stack.api_of(state)
    is_successful = backfill(api, str(arguments.first), str(arguments.last), max_active_runs=arguments.max_active_runs)
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
