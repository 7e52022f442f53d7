/** Text of documents that are not text: HTML in process, everything else in a process of its own. */
@NullMarked
package io.millrace.learners.extract;

import org.jspecify.annotations.NullMarked;
