"""What any program needs once and no domain owns: durable writes, file locks, instants, logs, masking, memory."""
