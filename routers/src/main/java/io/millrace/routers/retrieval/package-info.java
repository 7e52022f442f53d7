/** Retrieval: queries in, evidence out. */
@NullMarked
package io.millrace.routers.retrieval;

import org.jspecify.annotations.NullMarked;
