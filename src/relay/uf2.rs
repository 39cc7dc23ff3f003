//! UF2: the format of files that a Pico in BOOTSEL mode accepts on its drive. Blocks of 512 bytes, each of which tells where its 256 bytes
//! of flash go (Microsoft UF2 specification; family of the RP2040).

/// Family id of the RP2040.
const FAMILY: u32 = 0xE48B_FF56;
/// Address at which the RP2040 maps its flash (RP2040 datasheet, 2.6.3).
const FLASH: u32 = 0x1000_0000;
const MAGIC: [u32; 2] = [0x0A32_4655, 0x9E5D_5157];
const MAGIC_END: u32 = 0x0AB1_6F30;
/// The flag "family id present".
const FLAGS: u32 = 0x2000;
/// Bytes of flash per block: one page of the RP2040's flash.
const PAYLOAD: usize = 256;
const DATA: usize = 476;

/// Packs `content` for `offset` in the flash (a multiple of 4096: the boot ROM erases whole sectors); the last block is filled up with
/// `FF`.
pub fn uf2(offset: u32, content: &[u8]) -> Vec<u8> {
    let blocks = content.chunks(PAYLOAD);
    let count = u32::try_from(blocks.len()).unwrap_or(u32::MAX);
    let mut out = Vec::with_capacity(blocks.len() * 512);
    for (number, chunk) in (0_u32..).zip(blocks) {
        let mut payload = [0xFF; PAYLOAD];
        for (place, byte) in payload.iter_mut().zip(chunk) {
            *place = *byte;
        }
        let address = FLASH + offset + number * 256;
        for word in [MAGIC[0], MAGIC[1], FLAGS, address, 256, number, count, FAMILY] {
            out.extend(word.to_le_bytes());
        }
        out.extend(payload);
        out.extend([0; DATA - PAYLOAD]);
        out.extend(MAGIC_END.to_le_bytes());
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_are_as_the_specification_has_them() {
        let image = uf2(0x1F_F000, &[7; 300]);
        assert_eq!(image.len(), 1_024);
        let word = |at: usize| u32::from_le_bytes(image[at..at + 4].try_into().unwrap());
        let head: Vec<u32> = (512..544).step_by(4).map(word).collect();
        assert_eq!(head, [0x0A32_4655, 0x9E5D_5157, 0x2000, 0x101F_F100, 256, 1, 2, 0xE48B_FF56]);
        assert_eq!(
            (image[544], image[544 + 43], image[544 + 44], image[544 + 255], image[544 + 256]),
            (7, 7, 0xFF, 0xFF, 0)
        );
        assert_eq!((word(508), word(1_020)), (0x0AB1_6F30, 0x0AB1_6F30));
    }
}
