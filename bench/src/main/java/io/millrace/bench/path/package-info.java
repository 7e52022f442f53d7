/** The query path beside its floor and its peers. */
@NullMarked
package io.millrace.bench.path;

import org.jspecify.annotations.NullMarked;
