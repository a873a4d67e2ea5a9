#!/bin/sh
# Runs once, when the Postgres of docker-compose.override.yml makes its cluster: roles, databases, and the shop's tables.
# The loader makes the warehouse's own tables (include/sql).
set -eu

psql --no-psqlrc --quiet --set=ON_ERROR_STOP=1 --username="$POSTGRES_USER" --dbname=postgres \
    --set=warehouse_password="${WAREHOUSE_PASSWORD:?set it in .env}" \
    --set=shop_password="${SHOP_PASSWORD:?set it in .env}" \
    --set=reader_password="${READER_PASSWORD:?set it in .env}" \
    --set=inspector_password="${INSPECTOR_PASSWORD:?set it in .env}" <<'SQL'
create role warehouse login password :'warehouse_password';
create role shop login password :'shop_password';
create role reader login password :'reader_password';
create role inspector login password :'inspector_password';

create database warehouse owner warehouse;
create database shop owner shop;
revoke all on database warehouse, shop from public;
grant connect on database warehouse to reader, inspector;

\connect shop
set role shop;
\i /srv/shop.sql
SQL
