"""What an erasure has replaced, for the customer's request and the audit: places and counts, and nobody's name."""

from __future__ import annotations

from dataclasses import dataclass

#: Table and column → values that are replaced.
Counts = dict[str, int]

#: What no erasure here reaches, for the receipt.
NOT_REACHED = (
    "the shop's own tables and the Kafka topic (a load that reads them again replaces the customer)",
    "backups, write-ahead logs and replicas that are not streamed to",
    "schemas preview_… of a preview that runs or was killed (make preview drops the latter), and reports of previews",
    "logs that were sent elsewhere, and messages, e-mails and files that people have received",
)


@dataclass(frozen=True)
class Receipt:
    """
    What an erasure has replaced, or would replace.

    :param erasure_id: of `ops.erasure`; None of a dry run
    :param customers: how many keys the customer has
    :param places: table and column → values
    """

    erasure_id: int | None
    customers: int
    places: Counts

    def lines(self) -> list[str]:
        """For people; no line names the customer."""
        total = sum(self.places.values())
        verb = "would be replaced" if self.erasure_id is None else "were replaced"
        keys = "key" if self.customers == 1 else "keys"
        head = f"{self.customers} {keys} of a customer: {total:,} values in {len(self.places)} places {verb}"
        number = [] if self.erasure_id is None else [f"Receipt {self.erasure_id} (ops.erasure)"]
        return [
            *number,
            head,
            *(f"  {place}: {count:,}" for place, count in sorted(self.places.items())),
            "Not reached, and to be seen to by you:",
            *(f"  {place}" for place in NOT_REACHED),
        ]
