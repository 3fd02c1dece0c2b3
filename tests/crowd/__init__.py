"""Many more sessions than there are slots and permits, all talking, while processes are killed."""
