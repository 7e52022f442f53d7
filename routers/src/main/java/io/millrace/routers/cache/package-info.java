/** Answers that were given before. */
@NullMarked
package io.millrace.routers.cache;

import org.jspecify.annotations.NullMarked;
