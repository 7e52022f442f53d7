@NullMarked
package io.millrace.routers.dispatch;

import org.jspecify.annotations.NullMarked;
