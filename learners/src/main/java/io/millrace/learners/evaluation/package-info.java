/** Evaluation over open formats, for anyone's data. */
@NullMarked
package io.millrace.learners.evaluation;

import org.jspecify.annotations.NullMarked;
