"""
The publisher reads a table of `marts_build` only if nothing in it runs code of the role that built it.

A policy, a generated column, an index of an expression or a check can call a function, and Postgres runs that with the
rights of whoever reads the table, or copies it. None of these is of dbt, and neither is a view in the place of a table.
"""

from __future__ import annotations

from collections.abc import Mapping

from psycopg import Connection, sql

from ecommerce.common.errors import PublishError

#: What is in tables that dbt does not make: one row for each, with what it is in words. Functions, types, operators and
#: collations of Postgres itself have no entry in `pg_depend`.
_UNEXPECTED = """
with parts (relation, class, id) as (
    select oid, 'pg_class'::regclass, oid
    from unnest(%(oids)s::oid[]) as oid
    union all
    select indrelid, 'pg_class'::regclass, indexrelid
    from pg_index
    where indrelid = any(%(oids)s::oid[])
    union all
    select conrelid, 'pg_constraint'::regclass, oid
    from pg_constraint
    where conrelid = any(%(oids)s::oid[])
),

unexpected (relation, what) as (
    select oid, 'is no ordinary table'
    from pg_class
    where oid = any(%(oids)s::oid[]) and (relkind <> 'r' or relispartition or reloftype <> 0)
    union all
    select inhparent, 'has a table that inherits from it'
    from pg_inherits
    where inhparent = any(%(oids)s::oid[])
    union all
    select inhrelid, 'inherits from another table'
    from pg_inherits
    where inhrelid = any(%(oids)s::oid[])
    union all
    select oid, 'has row-level security'
    from pg_class
    where oid = any(%(oids)s::oid[]) and relrowsecurity
    union all
    select polrelid, format('has the policy %%I', polname)
    from pg_policy
    where polrelid = any(%(oids)s::oid[])
    union all
    select tgrelid, format('has the trigger %%I', tgname)
    from pg_trigger
    where tgrelid = any(%(oids)s::oid[]) and not tgisinternal
    union all
    select ev_class, format('has the rule %%I', rulename)
    from pg_rewrite
    where ev_class = any(%(oids)s::oid[])
    union all
    select attrelid, format('has the generated column %%I', attname)
    from pg_attribute
    where attrelid = any(%(oids)s::oid[]) and attgenerated <> ''
    union all
    select indrelid, format('has an index of expressions, %%s', indexrelid::regclass)
    from pg_index
    where indrelid = any(%(oids)s::oid[]) and (indexprs is not null or indpred is not null)
    union all
    select stxrelid, format('has the extended statistics %%I', stxname)
    from pg_statistic_ext
    where stxrelid = any(%(oids)s::oid[])
    union all
    select parts.relation, format('uses %%s', pg_describe_object(refclassid, refobjid, 0))
    from parts
    cross join lateral (
        select refclassid, refobjid
        from pg_depend
        where
            pg_depend.classid = parts.class
            and pg_depend.objid = parts.id
            and pg_depend.refclassid in (
                'pg_proc'::regclass, 'pg_type'::regclass, 'pg_operator'::regclass, 'pg_opclass'::regclass,
                'pg_collation'::regclass, 'pg_cast'::regclass
            )
    ) as used
)

select distinct format('%%s %%s', relation::regclass, what)
from unexpected
order by 1
"""


def assert_plain(connection: Connection, marts: Mapping[str, int]) -> None:
    """
    Check that tables of `marts_build` are such as dbt makes them, and still the ones that they were.

    In a transaction they are locked first, so that nobody can put a view or a policy in their place until it ends.

    :param marts: name of each table → its oid
    :raises PublishError: one is not
    """
    if not marts:
        return
    names = sql.SQL(", ").join(sql.SQL("only {}").format(sql.Identifier("marts_build", name)) for name in marts)
    with connection.transaction():
        connection.execute(sql.SQL("lock table {} in access share mode").format(names))
        found = [what for (what,) in connection.execute(_UNEXPECTED, {"oids": list(marts.values())})]
        if not found:
            found = _replaced(connection, marts)
    if found:
        raise PublishError(
            f"nothing is published: {'; '.join(found)}. That is not of dbt, and would run with the publisher's rights; "
            "find out who has made it, remove it, and clear the run from its task `claim` on"
        )


def _replaced(connection: Connection, marts: Mapping[str, int]) -> list[str]:
    current: dict[str, int] = dict(
        connection.execute(
            """
            select relname::text, oid::bigint
            from pg_class
            where relnamespace = to_regnamespace('marts_build') and relname = any(%s)
            """,
            [list(marts)],
        ).fetchall()
    )
    return [f"marts_build.{name} was made again meanwhile" for name, oid in marts.items() if current.get(name) != oid]
