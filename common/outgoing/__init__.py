"""What a call to somebody else's service needs: a connection, a slot of its limited rate, and a token that it accepts."""
