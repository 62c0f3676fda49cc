/* The table of one instruction set: included once by each lanes-NAME.c, which sets LANES. */
#pragma once

#include "kernels/act-vector.h"
#include "kernels/backward-vector.h"
#include "kernels/convert-vector.h"
#include "kernels/narrow-vector.h"
#include "kernels/norm-vector.h"
#include "kernels/softmax-vector.h"
#include "kernels/winograd-vector.h"

#define LDM_LANES_TABLE(NAME)                                   \
    {                                                           \
        .name = NAME,                                           \
        .width = LANES,                                         \
        .rows = MR,                                             \
        .tile = tile,                                           \
        .pack = pack,                                           \
        .rows_dot = rows_dot,                                   \
        .epilogue = epilogue,                                   \
        .narrow = narrow,                                       \
        .winograd_input = winograd_input,                       \
        .winograd_weights = winograd_weights,                   \
        .winograd_few = WINOGRAD_FEW,                           \
        .winograd_output = winograd_output,                     \
        .f16_to_f32 = f16_to_f32,                               \
        .bf16_to_f32 = bf16_to_f32,                             \
        .f32_to_f16 = f32_to_f16,                               \
        .f32_to_bf16 = f32_to_bf16,                             \
        .silu = silu,                                           \
        .gelu = gelu,                                           \
        .quick_gelu = quick_gelu,                               \
        .geglu = geglu,                                         \
        .add = add,                                             \
        .add_scaled = add_scaled,                               \
        .channel_moments = channel_moments,                     \
        .channel_affine = channel_affine,                       \
        .row_moments = row_moments,                             \
        .row_normalise = row_normalise,                         \
        .softmax_columns = softmax_columns,                     \
        .scale_columns = scale_columns,                         \
        .tile_turned = tile_turned,                             \
        .winograd_gradient = winograd_gradient,                 \
        .winograd_weights_backward = winograd_weights_backward, \
        .copy_rows = copy_rows,                                 \
        .sum_rows = sum_rows,                                   \
        .silu_backward = silu_backward,                         \
        .gelu_backward = gelu_backward,                         \
        .quick_gelu_backward = quick_gelu_backward,             \
        .geglu_backward = geglu_backward,                       \
        .norm_sums = norm_sums,                                 \
        .norm_backward = norm_backward,                         \
        .row_sums = row_sums,                                   \
        .row_backward = row_backward,                           \
        .row_parameters = row_parameters,                       \
        .softmax_backward = softmax_backward,                   \
    }
