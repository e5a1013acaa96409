"""A stand-in for Google Cloud on loopback: one daemon, one port, a room per API (see docs/local-cloud.md)."""
