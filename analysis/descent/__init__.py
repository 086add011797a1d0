"""Does a curve rise and fall a second time: noise, shape, tests, verdict."""
