@NullMarked
package io.millrace.knowledge.meaning;

import org.jspecify.annotations.NullMarked;
