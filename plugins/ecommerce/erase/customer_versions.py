"""
The versions of a customer in `core`, without the customer: as dbt would build them anew from raw.

Versions that differed only in name or address are one version now, and each version's key is a hash of the customer's
key: so facts get other keys of versions, too.
"""

from __future__ import annotations

from psycopg import Connection, sql

from ecommerce.erase.person import Person
from ecommerce.erase.personal_tables import is_key, new_key

#: What a version is told apart by, except for what an erasure empties (`dim_customer.sql`).
_KEPT = ("customer_since_date", "customer_end_date", "customer_status", "is_deleted")


def erase_versions(connection: Connection, person: Person) -> None:
    """Join versions that are equal now, and give them and their facts the keys that a rebuild would give them."""
    if connection.execute("select to_regclass('core.dim_customer') is null").fetchone() == (True,):
        return
    kept = sql.SQL(", ").join(map(sql.Identifier, _KEPT))
    connection.execute(
        sql.SQL("""
            create temp table erased_version on commit drop as
            with compared as (
                select
                    customer_key,
                    customer_id,
                    valid_from,
                    valid_to,
                    lag(row({kept})) over versions is distinct from row({kept})
                        or lag(customer_id) over versions is null as is_kept
                from core.dim_customer
                where {is_customer}
                window versions as (partition by customer_id order by valid_from)
            ),
            grouped as (
                select *, count(*) filter (where is_kept) over (partition by customer_id order by valid_from) as place
                from compared
            )
            select
                customer_key as old_key,
                is_kept,
                max(valid_to) over spells as valid_to,
                md5({new_key} || '|' || extract(epoch from min(valid_from) over spells))::uuid as new_key
            from grouped
            window spells as (partition by customer_id, place)
        """).format(
            kept=kept,
            is_customer=is_key(sql.Identifier("customer_id"), list(person.keys)),
            new_key=new_key(sql.Identifier("customer_id"), person.keys),
        )
    )
    tables = connection.execute(
        """
        select format('%I.%I', nspname, relname)
        from pg_attribute
        inner join pg_class on pg_class.oid = pg_attribute.attrelid
        inner join pg_namespace on pg_namespace.oid = pg_class.relnamespace
        where
            pg_attribute.attname = 'customer_key'
            and not pg_attribute.attisdropped
            and pg_attribute.atttypid = 'uuid'::regtype
            and pg_class.relkind in ('r', 'p')
            and pg_class.relowner = current_user::regrole
            and pg_class.oid <> 'core.dim_customer'::regclass
            and pg_class.relpersistence <> 't'
        """
    ).fetchall()
    for (table,) in tables:
        connection.execute(
            f"""
            update {table} as fact
            set customer_key = version.new_key
            from pg_temp.erased_version as version
            where fact.customer_key = version.old_key
            """.encode()
        )
    connection.execute(
        """
        delete from core.dim_customer as customer
        using pg_temp.erased_version as version
        where customer.customer_key = version.old_key and not version.is_kept
        """
    )
    connection.execute(
        """
        update core.dim_customer as customer
        set
            customer_key = version.new_key,
            valid_to = version.valid_to,
            is_current = version.valid_to = 'infinity',
            is_valid_email = false
        from pg_temp.erased_version as version
        where customer.customer_key = version.old_key
        """
    )
    connection.execute("drop table pg_temp.erased_version")
