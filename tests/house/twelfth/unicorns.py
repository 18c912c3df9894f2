"""Unicorns: what a twelfth record type costs, besides its migration."""

from common.rules.entity import MONEY, TEXT, Entity

ENTITY = Entity(
    label="unicorn",
    path="unicorns",
    table="unicorns",
    wrappers=("unicorn",),
    id_keys=("unicorn_id",),
    version_keys=("last_modified_time",),
    rank=120,
    columns={"name": TEXT, "price": MONEY},
)
