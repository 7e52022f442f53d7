/** Dispatch: work topics in, completions and replies out. */
@NullMarked
package io.millrace.routers.dispatch;

import org.jspecify.annotations.NullMarked;
