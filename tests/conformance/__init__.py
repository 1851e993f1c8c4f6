"""Conformance of `engine.ws` to RFC 6455 and RFC 7692, by the cases of the Autobahn test suite."""
