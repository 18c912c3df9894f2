"""How Tidemark is run, here and in a cloud."""
