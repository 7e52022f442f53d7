/** Whether two questions mean the same: a learned verdict with a bounded error. */
@NullMarked
package io.millrace.knowledge.meaning;

import org.jspecify.annotations.NullMarked;
