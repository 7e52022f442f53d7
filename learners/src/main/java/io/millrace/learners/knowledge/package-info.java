/** Knowledge intake: raw documents in, passages out. */
@NullMarked
package io.millrace.learners.knowledge;

import org.jspecify.annotations.NullMarked;
