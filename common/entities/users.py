"""Users of the organisation. The source does not say when one changed, so a webhook is only a hint to read it again."""

from common.rules.entity import FLAG, ID, INSTANT, JSON, TEXT, Entity, Pull

ENTITY = Entity(
    label="user",
    path="users",
    table="users",
    wrappers=("user",),
    id_keys=("user_id",),
    aliases=("users",),
    priority=8,
    rank=40,
    columns={
        "name": TEXT,
        "email": TEXT,
        "role_id": ID,
        "user_role": TEXT,
        "user_type": TEXT,
        "status": TEXT,
        "is_current_user": FLAG,  # of the token that reads, not of the organisation
        "is_employee": FLAG,
        "custom_fields": JSON,
        "created_time": INSTANT,
    },
    pull=Pull(
        path="users",
        base="books",
        key="users",
        detail_key="user",
        sort="name",
        arguments={"filter_by": "Status.All"},
        whole=True,
    ),
)
