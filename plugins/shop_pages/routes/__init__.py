"""The addresses of the pages: one module for each page or group of pages."""

from __future__ import annotations

from shop_pages.routes import (
    asset_files,
    customer_page,
    dbt_pages,
    digest_page,
    drill_pages,
    figure_pages,
    home,
    incident_page,
    metrics_page,
    review_pages,
    status_page,
    today_page,
    trigger_pages,
    undo_page,
    why_page,
)

#: Which module serves which address, for users who may see the pages. `/health` is beside them (`shop_pages/app.py`).
#: Below the address of a page its tables have `/<table>/table` and `/<table>.csv` (`whole_table.py`).
ROUTERS = (
    home.router,  # /
    asset_files.router,  # /static/{digest}/{name}
    today_page.router,  # /today
    why_page.router,  # /why, /why.csv
    digest_page.router,  # /digest
    review_pages.router,  # /review, /review/order; before the pages of figures, of which it is one
    figure_pages.router,  # /revenue and each other page of PAGES, and /{page}/{figure}.csv and /table of each
    customer_page.router,  # /customer
    status_page.router,  # /status, /status/{source}/{day}
    incident_page.router,  # /incidents/{alert_id}
    undo_page.router,  # /undo/{publication_id}
    drill_pages.router,  # /rows/{mart}, /facts/{fact}, /batches/{batch_id}, /rejected
    metrics_page.router,  # /metrics
    dbt_pages.router,  # /models, /models/{name}
    trigger_pages.router,  # /trigger/{dag_id}, /started/{dag_id}
    home.not_found_router,  # every other address; must be the last
)
