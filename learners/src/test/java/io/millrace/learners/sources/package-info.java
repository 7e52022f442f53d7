@NullMarked
package io.millrace.learners.sources;

import org.jspecify.annotations.NullMarked;
