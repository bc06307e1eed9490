"""What is particular to Colombia, as tools: tax ids, identity cards, departments and municipalities."""
