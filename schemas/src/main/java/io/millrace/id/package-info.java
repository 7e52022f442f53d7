/** Identifiers: time-ordered ids of events and content-derived ids of knowledge. */
@NullMarked
package io.millrace.id;

import org.jspecify.annotations.NullMarked;
