/** A stub of a model server. */
@NullMarked
package io.millrace.bench.stub;

import org.jspecify.annotations.NullMarked;
