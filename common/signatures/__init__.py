"""How senders prove who they are: one file per scheme."""
