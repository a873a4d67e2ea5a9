"""
### Erase a customer

Replaces everything that says who a customer was (GDPR, article 17): the key by a random one, names and e-mail addresses
by nothing, and mentions in notes, messages, rejected rows and logs. Facts and sums stay, to the cent. What is read
again from the shop or the topic stays erased: loads know the customer by a salted hash. See *docs/privacy.md*.

A dry run, the default, lists each table and column with the number of values. The receipt is in the task's log and in
`ops.erasure`; neither names the customer, and this form forgets whom it was about when the run ends. It cannot be
undone.
"""

from airflow.sdk import Param, dag

from ecommerce.dag_defaults import CLAIM_POOL, started_by_hand
from ecommerce.erase.erase_customer import EraseCustomer

PARAMS = {
    "customer": Param(
        "",
        type="string",
        maxLength=1000,
        title="Customer",
        description="A customer_id as the marts have it, or an e-mail address: then all customers who have had it.",
    ),
    "dry_run": Param(
        True,
        type="boolean",
        title="Dry run",
        description="Only list where the customer is. Nothing is changed.",
    ),
}


@dag(
    **started_by_hand(),
    params=PARAMS,
    doc_md=__doc__,
    tags=["ecommerce", "privacy"],
)
def erase_customer() -> None:
    EraseCustomer(task_id="erase", pool=CLAIM_POOL)


erase_customer()
