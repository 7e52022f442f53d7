/** Real servers for the tests of this module, started once. */
@NullMarked
package io.millrace.sinks.testing;

import org.jspecify.annotations.NullMarked;
