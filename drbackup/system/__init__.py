"""What every program needs and nothing of backup: durable writes, file locks, instants, logs, masking, memory."""
