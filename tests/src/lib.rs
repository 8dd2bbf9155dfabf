//! Fixtures and helpers that the tests of the whole agent share.
