@NullMarked
package io.millrace.learners.knowledge;

import org.jspecify.annotations.NullMarked;
