#!/bin/sh
# Runs once, when the Postgres of docker-compose.override.yml makes its cluster: roles, databases, and the shop's tables.
# The first task that connects makes the warehouse's own tables (include/sql).
set -eu

: "${WAREHOUSE_PASSWORD:?set it in .env}"
: "${LOADER_PASSWORD:?set it in .env}"
: "${TRANSFORMER_PASSWORD:?set it in .env}"
: "${PUBLISHER_PASSWORD:?set it in .env}"
: "${SHOP_PASSWORD:?set it in .env}"
: "${READER_PASSWORD:?set it in .env}"
: "${INSPECTOR_PASSWORD:?set it in .env}"
: "${REVIEWER_PASSWORD:?set it in .env}"

# psql reads the passwords from the environment: others could see those of a command line.
psql --no-psqlrc --quiet --set=ON_ERROR_STOP=1 --username="$POSTGRES_USER" --dbname=postgres <<'SQL'
\getenv warehouse_password WAREHOUSE_PASSWORD
\getenv loader_password LOADER_PASSWORD
\getenv transformer_password TRANSFORMER_PASSWORD
\getenv publisher_password PUBLISHER_PASSWORD
\getenv shop_password SHOP_PASSWORD
\getenv reader_password READER_PASSWORD
\getenv inspector_password INSPECTOR_PASSWORD
\getenv reviewer_password REVIEWER_PASSWORD
create role warehouse login password :'warehouse_password';
create role shop login password :'shop_password';
create role loader login password :'loader_password';
create role transformer login password :'transformer_password';
create role publisher login password :'publisher_password';
create role reader login password :'reader_password';
create role inspector login password :'inspector_password';
create role reviewer login password :'reviewer_password';
grant loader, transformer, publisher to warehouse;

create database warehouse owner warehouse;
create database shop owner shop;
revoke all on database warehouse, shop from public;

\connect warehouse
\i /srv/roles.sql

\connect shop
set role shop;
\i /srv/shop.sql
SQL
