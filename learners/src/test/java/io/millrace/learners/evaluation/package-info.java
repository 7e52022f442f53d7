@NullMarked
package io.millrace.learners.evaluation;

import org.jspecify.annotations.NullMarked;
