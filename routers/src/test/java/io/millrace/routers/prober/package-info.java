@NullMarked
package io.millrace.routers.prober;

import org.jspecify.annotations.NullMarked;
