"""Load generator, scenarios, verification, limit baseline, reports. Knows the wire protocol, not the engine inside."""
