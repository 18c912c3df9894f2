"""How Tidemark runs on AWS."""
