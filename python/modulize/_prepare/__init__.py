"""What the public functions do before and after the engine: options, arguments, targets, verification."""
