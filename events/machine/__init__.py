"""What every process of a machine needs before it can speak: places, logs, database, control."""
