"""`todo-admin`: what an operator sees and does."""
