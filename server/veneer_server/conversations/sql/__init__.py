"""What is kept, in SQL: the tables, their statements, and the transactions."""
