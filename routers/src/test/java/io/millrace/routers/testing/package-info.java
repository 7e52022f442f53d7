/** Real servers for the tests of the module: a broker, and a model that says what it is told. */
@NullMarked
package io.millrace.routers.testing;

import org.jspecify.annotations.NullMarked;
