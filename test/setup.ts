/** Runs before every test file: the tests are an entry point, and take the missing pieces of the engine first. */
import '../src/platform.ts';
